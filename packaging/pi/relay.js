// pi's part of claude-relay: shows what arrives for this session by `sendMessage`, and tells the session's channel what the session
// does and what went before the model. Seen in 1.6.0.
import { join, program } from "../plugin/extensions/relay/session.mjs"

export default function (pi) {
  let channel, context
  let status = "idle"
  const given = new Map() // id of a message -> whether a turn was running that may lose it

  pi.registerMcpServer("relay", { command: program(), args: [], exposure: "direct" })

  const tell = (now, waiting_for) => channel?.say({ type: "presence", status: now, ...(waiting_for && { waiting_for }), cwd: context.cwd })
  const deliver = async ({ text, ids = [] }) => {
    // A message that comes between turns begins one, and is part of the conversation at once.
    for (const id of ids) given.set(id, !context.isIdle())
    pi.sendMessage({ customType: "relay", content: text, display: true, details: { ids } }, { triggerTurn: true, deliverAs: "steer" })
  }
  const lose = (ids) => {
    for (const id of ids) given.delete(id)
    if (ids.length) channel?.say({ type: "lost", ids })
  }

  pi.on("session_start", async (_, now) => {
    context = now
    channel = join({ pid: process.pid, deliver })
    tell(status)
    const name = pi.getSessionName?.()
    if (name) channel.say({ type: "named", name })
  })
  pi.on("session_info_changed", async ({ name }) => name && channel?.say({ type: "named", name }))
  pi.on("agent_start", async () => tell((status = "busy")))
  pi.on("agent_settled", async (_, now) => {
    context = now
    // An interrupted turn takes with it what was put into it.
    lose([...given].filter(([, may_be_lost]) => may_be_lost).map(([id]) => id))
    tell((status = "idle"))
  })
  pi.on("ui_prompt_start", async ({ kind }) => tell("waiting", kind))
  pi.on("ui_prompt_end", async () => tell(status))
  pi.on("context", async ({ messages }) => {
    // A request is being made that has these.
    const ids = messages.flatMap((message) => (message.customType === "relay" ? (message.details?.ids ?? []) : [])).filter((id) => given.delete(id))
    if (ids.length) channel?.say({ type: "shown", ids })
  })
  pi.on("session_shutdown", async () => {
    lose([...given.keys()])
    channel?.leave()
  })
}
