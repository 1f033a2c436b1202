// Copilot's part of claude-relay: shows what arrives for this session by `session.send`, and tells the session's channel what the
// session does and what went before the model. Seen in 1.0.92 and 1.0.102.
import { joinSession } from "@github/copilot-sdk/extension"
import { join } from "./session.mjs"

const TOOLS = ["relay_ask", "relay_tell", "relay_reply", "relay_broadcast", "relay_rename"]
/** How long after the start of a tool call its dialog is there, in milliseconds: no event tells of it. */
const DIALOG_DELAY = 250

const session = await joinSession({})
const sent = new Map() // Copilot's id of a message that no model was shown yet -> the ids of the messages in it
const shown = new Set() // Copilot's ids whose event came before their answer
let interrupted = [] // what had been sent when the turn was interrupted
let status = "idle"

const deliver = async ({ text, ids = [] }) => {
  const message = await session.send({ prompt: text, mode: "immediate", source: "agent-relay", displayPrompt: "relay: a message from another session" })
  if (shown.delete(message)) channel.say({ type: "shown", ids })
  else sent.set(message, ids)
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

session.on("user.message", ({ data }) => {
  const ids = sent.get(data.messageId)
  if (ids) channel.say({ type: "shown", ids })
  else if (data.source === "agent-relay") shown.add(data.messageId)
  sent.delete(data.messageId)
})
session.on("abort", () => (interrupted = [...sent.keys()]))
const settle = () => {
  change("idle")
  // An interrupted turn takes with it what was put into it; what is still queued comes next.
  const lost = interrupted.filter((message) => sent.has(message)).flatMap((message) => sent.get(message))
  for (const message of interrupted.splice(0)) sent.delete(message)
  if (lost.length) channel.say({ type: "lost", ids: lost })
}
// The second one waits for commands in the background as well.
for (const idle of ["assistant.idle", "session.idle"]) session.on(idle, settle)
session.on("assistant.turn_start", () => change("busy"))
session.on("tool.execution_start", () =>
  setTimeout(async () => {
    const { items } = await session.rpc.permissions.pendingRequests().catch(() => ({ items: [] }))
    if (items.length) tell("waiting", "permission prompt")
  }, DIALOG_DELAY),
)
session.on("permission.completed", () => tell(status))
session.on("session.title_changed", () => look().catch(() => {}))
session.on("session.context_changed", () => look().catch(() => {}))
