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
/** The pauses, in milliseconds, after which the directory is asked for again that cannot be found or watched: each is twice as
 * long as the one before, up to the last. A process is started for it. */
const FIRST_PAUSE = 1000
const LAST_PAUSE = 60_000
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

/** Asks relay-channel for the address of this session's channel, in a directory that it makes. */
function locate(session, located) {
  try {
    execFile(program(), ["socket", ...session], (failed, out) => located(failed ? undefined : out.trim()))
  } catch {
    located() // node throws where the program is just being written
  }
}

const line = (message) => JSON.stringify(message) + "\n"

/** Connects to a channel. `closed` is told whether the channel has sent this plugin away. */
function connect(address, { opened, received, closed }) {
  const since = Date.now()
  const socket = net.connect(address)
  let text = ""
  socket.unref()
  socket.setEncoding("utf8")
  socket.on("connect", () => opened(socket))
  socket.on("data", (data) => {
    text += data
    const lines = text.split("\n")
    text = lines.pop()
    for (const one of lines) if (one) received(socket, JSON.parse(one))
  })
  socket.on("error", () => {})
  socket.on("close", () => closed(Date.now() - since < SHORT && socket.bytesRead === 0 && socket.bytesWritten > 0))
  return socket
}

/** Watches a directory and returns what ends that, and what says whether there still is this one. Throws where there is none. */
function watch(folder, { changed, failed }) {
  // By its number alone a removed directory may be taken for the next one.
  const which = () => {
    const { ino, birthtimeNs } = fs.statSync(folder, { bigint: true })
    return `${ino} ${birthtimeNs}`
  }
  const watched = which()
  // Whatever changes there: of a file that is renamed Bun tells only the old name.
  const watcher = fs.watch(folder, { persistent: false }, changed)
  watcher.on("error", failed)
  const isThere = () => {
    try {
      return which() === watched
    } catch {
      return false
    }
  }
  return { isThere, close: () => watcher.close() }
}

/** Keeps a connection to the channel of a session: to the one that is there, to the one that comes, to the next. */
function follow(session, { opened, received }) {
  let address, connection, watching, again, pause = FIRST_PAUSE, up = false, left = false
  let changed = false // whether somebody may have come since the attempt to connect that is not over yet
  const later = (then, after) => {
    clearTimeout(again)
    again = setTimeout(then, after)
    again.unref()
  }
  const unwatch = () => {
    watching?.close()
    watching = undefined
  }
  const look = () => {
    later(attempt, SETTLES)
    attempt()
  }
  const attempt = () => {
    changed = connection !== undefined
    if (!left && !changed) connection = connect(address, { opened: begin, received, closed })
  }
  const begin = (socket) => {
    clearTimeout(again)
    unwatch()
    up = true
    pause = FIRST_PAUSE
    opened(socket)
  }
  const closed = (sent_away) => {
    const was_up = up
    connection = undefined
    up = false
    if (left) return
    if (was_up) return sent_away ? later(wait, SHORT) : wait()
    if (!watching) return
    if (watching.isThere()) return changed && look()
    unwatch()
    wait()
  }
  const failed = () => {
    if (!watching) return
    unwatch()
    search()
  }
  const wait = () => {
    if (left || up || watching) return
    try {
      watching = watch(path.dirname(address), { changed: look, failed })
    } catch {
      // Somebody has removed the directory, or this user watches as much as the system allows.
      search()
      return attempt()
    }
    look() // whoever came before the watch was set
  }
  const search = () => {
    later(() => locate(session, located), pause)
    pause = Math.min(2 * pause, LAST_PAUSE)
  }
  const located = (found) => {
    if (left) return
    if (!found) return search()
    address = found
    wait()
  }
  locate(session, located)
  const leave = () => {
    left = true
    clearTimeout(again)
    unwatch()
    connection?.end()
  }
  return { leave, connection: () => (up ? connection : undefined) }
}

/**
 * Joins the session of this agent's process, and of this thread where the process holds several. `deliver` shows one message
 * in the agent: it is given `{text, ids}` and its promise fails where the agent does not take it. Returns what tells the channel.
 */
export function join({ pid, thread, deliver }) {
  let unsaid = []
  const holds = { presence: undefined, named: undefined }
  const say = (message) => {
    const connection = channel.connection()
    if (message.type in holds) {
      if (JSON.stringify(holds[message.type]) === JSON.stringify(message)) return
      holds[message.type] = message
      connection?.write(line(message))
    } else if (connection) connection.write(line(message))
    else unsaid = [...unsaid, message].slice(-UNSAID_MAX)
  }
  const opened = (socket) => {
    const first = [{ type: "hello", role: "plugin" }, holds.presence, holds.named, ...unsaid.splice(0)]
    socket.write(first.filter(Boolean).map(line).join(""))
  }
  const received = (socket, message) => {
    if (message.type === "end") channel.leave()
    if (message.type !== "deliver") return
    const lost = () => say({ type: "lost", ids: message.ids ?? [] })
    // It is this plugin's to show only once that could be said.
    socket.write(line({ type: "taken", batch: message.batch }), (failed) => failed || Promise.resolve(deliver(message)).catch(lost))
  }
  const channel = follow([String(pid), ...(thread ? [thread] : [])], { opened, received })
  return { say, leave: channel.leave }
}
