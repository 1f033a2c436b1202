// opencode's part of claude-relay: shows what arrives for this session by `promptAsync`, in the conversation that it is for, and
// tells the session's channel what the session does and what went before the model. Seen in 1.18.33.
import { join, program } from "../plugin/extensions/relay/session.mjs"

/** The titles that opencode gives itself before it has made one from the first prompt. */
const UNTITLED = /^(New session|Child session) - \d/
const DIALOGS = { "permission.asked": "permission prompt", "question.asked": "question" }
const COMMANDS = {
  "relay-peers": ["relay: who is there", "Call relay_peers and show the peers as a short table: name, folder, status, whether reachable. $ARGUMENTS"],
  "relay-ask": ["relay: ask a session (NAME QUESTION)", "Ask by relay_ask: the first word is the session's name, the rest is the question. $ARGUMENTS"],
  "relay-broadcast": ["relay: ask every session", "Ask everybody by relay_broadcast: $ARGUMENTS"],
  "relay-rename": ["relay: rename this session", "Call relay_rename with this name: $ARGUMENTS"],
}

export const Relay = async ({ client, directory }) => {
  let current // the conversation that its user typed in last
  const asked = new Map() // id of an ask or a broadcast -> the conversation that made it
  const parents = new Map() // a subagent's conversation -> the one that started it
  const given = new Map() // id of a user message of ours -> the conversation and the ids of its messages
  const settings = new Map() // conversation -> its agent and model
  const titles = new Map()
  const busy = new Set(), dialogs = new Map()

  const root = (id) => (parents.has(id) ? root(parents.get(id)) : id)
  const create = async () => {
    const { data } = await client.session.create({ body: {}, throwOnError: true })
    await client.tui.publish({ body: { type: "tui.session.select", properties: { sessionID: data.id } } })
    return data.id
  }
  const send = async (id, { text, ids }) => {
    // Without the conversation's own agent it would leave plan mode.
    const part = { type: "text", text, metadata: { relay: ids ?? [] } }
    await client.session.promptAsync({ path: { id }, body: { ...settings.get(id), parts: [part] }, throwOnError: true })
  }
  const deliver = async (message) => {
    const origin = (message.ids ?? []).map((id) => asked.get(id)).find(Boolean)
    try {
      await send(origin ?? (current ??= await create()), message)
    } catch {
      if (!origin && current) current = undefined // the conversation was deleted
      await send((current ??= await create()), message)
    }
  }
  const channel = join({ pid: process.pid, deliver })
  const tell = () => {
    const waiting_for = [...dialogs.values()][0]
    const status = waiting_for ? "waiting" : busy.size ? "busy" : "idle"
    channel.say({ type: "presence", status, ...(waiting_for && { waiting_for }), cwd: directory })
  }
  tell()

  const events = {
    "session.created": ({ info }) => {
      if (info.parentID) parents.set(info.id, info.parentID)
      titles.set(info.id, info.title)
    },
    "session.updated": ({ info }) => {
      const before = titles.get(info.id)
      titles.set(info.id, info.title)
      // The first title is made from the first prompt; a later one is the user's.
      if (before && before !== info.title && !UNTITLED.test(before) && info.id === current) channel.say({ type: "named", name: info.title })
    },
    "session.deleted": ({ info }) => {
      if (info.id === current) current = undefined
    },
    "session.status": ({ sessionID, status }) => {
      status.type === "idle" ? busy.delete(sessionID) : busy.add(sessionID)
      tell()
    },
    "message.updated": ({ info }) => {
      if (info.role !== "assistant") return
      // A request is being made that has all of the conversation up to this user message.
      for (const [message, { conversation, ids }] of given) {
        if (conversation !== info.sessionID || message > info.parentID) continue
        given.delete(message)
        channel.say({ type: "shown", ids })
      }
    },
  }
  return {
    config: async (config) => {
      // Under the user's own settings: whoever has set any of it up keeps it.
      config.mcp = { relay: { type: "local", enabled: true, command: [program()] }, ...config.mcp }
      const commands = Object.entries(COMMANDS).map(([name, [description, template]]) => [name, { description, template }])
      config.command = { ...Object.fromEntries(commands), ...config.command }
    },
    "chat.message": async ({ sessionID }, { message, parts }) => {
      settings.set(sessionID, { agent: message.agent, model: message.model })
      const ours = parts.find((part) => part.metadata?.relay)
      if (ours) given.set(message.id, { conversation: sessionID, ids: ours.metadata.relay })
      else if (!parents.has(sessionID)) current = sessionID
    },
    "tool.execute.after": async ({ tool, sessionID }, output) => {
      if (!/relay_(ask|broadcast|tell)$/.test(tool)) return
      for (const [, id] of JSON.stringify(output).matchAll(/(?:ask|tell|broadcast)_id\\*":\s*\\*"([^"\\]+)/g)) asked.set(id, root(sessionID))
    },
    event: async ({ event: { type, properties } }) => {
      if (DIALOGS[type]) dialogs.set(properties.id, DIALOGS[type])
      else if (/^(permission|question)\.(replied|rejected)$/.test(type)) dialogs.delete(properties.requestID ?? properties.permissionID)
      else return events[type]?.(properties)
      tell()
    },
    dispose: async () => channel.leave(),
  }
}
