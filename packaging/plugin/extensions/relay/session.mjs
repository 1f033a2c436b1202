// The plugin's end of the session's own socket (docs/protocol.md): connects to the channel of this agent's session, as long as
// the agent lives, and brings what the channel delivers. It knows no agent, and decides nothing.
import { execFile } from "node:child_process"
import fs from "node:fs"
import net from "node:net"
import os from "node:os"
import path from "node:path"
import { fileURLToPath } from "node:url"

/** Where `relayctl setup` says in which directory the programs are. */
const BINDIR = fileURLToPath(new URL("../../bindir", import.meta.url))
/** How long a connection has to live to be made again at once, in milliseconds. */
const SHORT = 1000
/** How long after a change of the directory it is looked once more, in milliseconds: of changes close together Bun tells the first. */
const SETTLES = 50
/** The most messages that are kept for the next channel. */
const UNSAID_MAX = 256

/** Returns where relay-channel is: where `relayctl setup` wrote, on the search path, in the usual places. */
export function program() {
  const folders = [...(process.env.PATH ?? "").split(path.delimiter), `${os.homedir()}/.cargo/bin`, `${os.homedir()}/.local/bin`]
  folders.push("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")
  try {
    folders.unshift(fs.readFileSync(BINDIR, "utf8").trim())
  } catch {
    // It was set up by hand.
  }
  const programs = folders.filter(path.isAbsolute).map((folder) => path.join(folder, "relay-channel"))
  return programs.find((file) => fs.existsSync(file)) ?? "relay-channel"
}

/**
 * Joins the session of this agent's process, and of this thread where the process holds several. `deliver` shows one message
 * in the agent: it is given `{text, ids}` and its promise fails where the agent does not take it. Returns what tells the channel.
 */
export function join({ pid, thread, deliver }) {
  let address, connection, watcher, again, up = false, left = false
  let changed = false // whether somebody may have come since the attempt to connect that is not over yet
  let unsaid = []
  const holds = { presence: undefined, named: undefined }
  const line = (message) => JSON.stringify(message) + "\n"
  const say = (message) => {
    if (message.type in holds) {
      if (JSON.stringify(holds[message.type]) === JSON.stringify(message)) return
      holds[message.type] = message
      if (up) connection.write(line(message))
    } else if (up) connection.write(line(message))
    else unsaid = [...unsaid, message].slice(-UNSAID_MAX)
  }
  const receive = (socket, message) => {
    if (message.type === "end") leave()
    if (message.type !== "deliver") return
    const lost = () => say({ type: "lost", ids: message.ids ?? [] })
    // It is this plugin's to show only once that could be said.
    socket.write(line({ type: "taken", batch: message.batch }), (failed) => failed || Promise.resolve(deliver(message)).catch(lost))
  }
  const look = () => {
    clearTimeout(again)
    again = setTimeout(connect, SETTLES)
    again.unref()
    connect()
  }
  const connect = () => {
    changed = connection !== undefined
    if (left || changed) return
    const since = Date.now()
    const socket = net.connect(address)
    let text = ""
    connection = socket
    socket.unref()
    socket.setEncoding("utf8")
    socket.on("connect", () => {
      watcher?.close()
      watcher = undefined
      up = true
      const first = [{ type: "hello", role: "plugin" }, holds.presence, holds.named, ...unsaid.splice(0)]
      socket.write(first.filter(Boolean).map(line).join(""))
    })
    socket.on("data", (data) => {
      text += data
      const lines = text.split("\n")
      text = lines.pop()
      for (const one of lines) if (one) receive(socket, JSON.parse(one))
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      connection = undefined
      up = false
      if (left) return
      if (watcher) return changed && look()
      if (Date.now() - since < SHORT && socket.bytesRead === 0 && socket.bytesWritten > 0) setTimeout(wait, SHORT).unref()
      else wait()
    })
  }
  const wait = () => {
    if (left || watcher) return
    try {
      // Whatever changes there: of a file that is renamed Bun tells only the old name.
      watcher = fs.watch(path.dirname(address), { persistent: false }, look)
    } catch {
      return void setTimeout(locate, SHORT).unref() // somebody has removed the directory
    }
    watcher.on("error", () => {})
    look() // whoever came before the watch was set
  }
  const leave = () => {
    left = true
    watcher?.close()
    connection?.end()
  }
  const locate = () =>
    execFile(program(), ["socket", String(pid), ...(thread ? [thread] : [])], (failed, out) => {
      address = out?.trim()
      if (!failed && address) wait()
    })
  locate()
  return { say, leave }
}
