// Copilot's part of claude-relay: shows what arrives for this session by `session.send`, and tells the session's channel what the
// session does and what went before the model. Seen in 1.0.92 and 1.0.102.
import { joinSession } from "@github/copilot-sdk/extension"
import { join } from "./session.mjs"

const TOOLS = ["relay_ask", "relay_tell", "relay_reply", "relay_broadcast", "relay_rename"]
/** Whom a message of ours is from, for Copilot. */
const SOURCE = "agent-relay"
/** When after the start of a tool call a dialog is looked for first, in milliseconds: no event tells of it. Then each time after
 * twice as long, up to the pause, for as long as a call runs: it may come late, and one call may have several. */
const DIALOG_DELAY = 250
const DIALOG_PAUSE = 2000

const session = await joinSession({})
// Copilot's id of a message of ours -> the ids of the messages in it, once `send` has answered, and where it is:
// "sent", then in the "conversation", then "answered" by a model.
const messages = new Map()
let request = [] // those that the running request has
let interrupted = [] // those that were only sent when the turn was interrupted
const running = new Set() // tool calls
let status = "idle"

const tellShown = (message) => {
  const { ids, place } = messages.get(message)
  if (!ids || place !== "answered") return
  messages.delete(message)
  channel.say({ type: "shown", ids })
}
const those = (place) => [...messages].filter(([, entry]) => entry.place === place).map(([message]) => message)
const deliver = async ({ text, ids = [] }) => {
  const message = await session.send({ prompt: text, mode: "immediate", source: SOURCE, displayPrompt: "relay: a message from another session" })
  messages.set(message, { place: "sent", ...messages.get(message), ids })
  tellShown(message)
}
const channel = join({ pid: process.ppid, thread: process.env.SESSION_ID ?? session.sessionId, deliver })

const tell = (now, waiting_for) => channel.say({ type: "presence", status: now, ...(waiting_for && { waiting_for }), ...(cwd && { cwd }) })
let cwd
const look = async () => {
  const { workspace } = await session.rpc.workspaces.getWorkspace()
  cwd = workspace?.cwd
  if (workspace?.user_named && workspace.name) channel.say({ type: "named", name: workspace.name })
  tell(status)
}
const change = (now) => tell((status = now))

// A session that nobody looks at must not stand at a dialog to answer.
if (process.env.RELAY_ALLOW_TOOLS?.toLowerCase() !== "off") {
  await session.rpc.permissions.modifyRules({ scope: "session", add: TOOLS.map((argument) => ({ kind: "relay", argument })) }).catch(() => {})
}
await look().catch(() => tell(status))

session.on("user.message", ({ data: { messageId, source } }) => {
  if (source === SOURCE || messages.has(messageId)) messages.set(messageId, { ...messages.get(messageId), place: "conversation" })
})
session.on("assistant.turn_start", ({ agentId }) => {
  if (agentId) return
  request = those("conversation")
  change("busy")
})
// What came into the conversation since the turn's start is in the request as well.
session.on("model.call_start", ({ agentId }) => {
  if (!agentId) request = those("conversation")
})
// Between the turn's start and the request Esc may still come: only an answer proves that the model was shown a message.
session.on("assistant.message", ({ agentId }) => {
  if (agentId) return
  for (const message of request.splice(0)) {
    messages.get(message).place = "answered"
    tellShown(message)
  }
})
session.on("abort", () => (interrupted = those("sent")))
const settle = () => {
  running.clear()
  change("idle")
  // An interrupted turn takes with it what was put into it; what is still queued comes next.
  const lost = interrupted.splice(0).filter((message) => messages.get(message)?.place === "sent")
  const ids = lost.flatMap((message) => messages.get(message).ids)
  for (const message of lost) messages.delete(message)
  if (ids.length) channel.say({ type: "lost", ids })
}
// The second one waits for commands in the background as well.
for (const idle of ["assistant.idle", "session.idle"]) session.on(idle, settle)
let looking
const lookForDialog = (delay) => {
  clearTimeout(looking)
  const mine = setTimeout(async () => {
    const found = await session.rpc.permissions.pendingRequests().catch(() => {})
    if (!running.size || looking !== mine) return
    if (found?.items.length) tell("waiting", "permission prompt")
    else if (found) tell(status)
    lookForDialog(Math.min(2 * delay, DIALOG_PAUSE))
  }, delay)
  looking = mine
}
session.on("tool.execution_start", ({ data: { toolCallId } }) => {
  running.add(toolCallId)
  lookForDialog(DIALOG_DELAY)
})
session.on("tool.execution_complete", ({ data: { toolCallId } }) => running.delete(toolCallId))
session.on("permission.completed", () => {
  tell(status)
  if (running.size) lookForDialog(DIALOG_DELAY)
})
session.on("session.title_changed", () => look().catch(() => {}))
session.on("session.context_changed", () => look().catch(() => {}))
