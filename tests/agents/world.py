"""A private machine for real agents: a home, a hub, terminals (tmux), a stand-in model, and a network that is a loopback alone."""
import json, os, shlex, shutil, signal, subprocess, sys, tempfile, time
from model import Model

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
AGENTS = os.path.join(ROOT, "target/agents")
PROGRAMS = os.environ.get("RELAY_PROGRAMS", os.path.join(ROOT, "target/debug"))


def isolate():
    """Runs this program again where nothing can leave the machine. Where it is ended, what it has started is ended."""
    if os.environ.get("RELAY_AGENTS_ISOLATED"):
        signal.signal(signal.SIGTERM, interrupt)
        return
    os.environ["RELAY_AGENTS_ISOLATED"] = "1"
    own = ["--net"] if os.geteuid() == 0 else ["--net", "--map-current-user"]
    up = 'ip link set lo up && exec "$@"'
    os.execvp("unshare", ["unshare", *own, "sh", "-c", up, "sh", sys.executable, "-u", *sys.argv])


def interrupt(number, _):
    # timeout sends its signal twice; the second one must not interrupt the end of what was started.
    signal.signal(number, signal.SIG_IGN)
    sys.exit("ended by %s" % signal.Signals(number).name)


class Failure(Exception):
    pass


# What a scenario that fails ends with: what it sees, or a command of ours that does not end.
FAILURES = (Failure, subprocess.TimeoutExpired)


class World:
    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="relay-agents-")
        self.home = self.folder("home")
        self.socket = os.path.join(self.folder("run"), "hub.sock")
        os.chmod(os.path.dirname(self.socket), 0o700)
        self.tmux_socket = os.path.join(self.root, "tmux")
        self.model = Model()
        self.terminals, self.at_the_end = [], []
        self.hub = subprocess.Popen([PROGRAMS + "/relay-hub", "--socket", self.socket, "--limit", "rate=off", "--limit", "loop=off"],
                                    stderr=open(self.root + "/hub.log", "w"))
        self.until("a hub listens", lambda: os.path.exists(self.socket))

    def folder(self, *names):
        path = os.path.join(self.root, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def environment(self, **more):
        away = {name: self.model.address for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
        away.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
        return {**away, "PATH": ":".join([self.folder("bin"), PROGRAMS, os.environ["PATH"]]), "HOME": self.home, "USER": "ada", "SHELL": "/bin/sh", "LANG": "C.UTF-8",
                "TERM": "xterm-256color", "TMPDIR": self.folder("tmp"), "RELAY_SOCKET": self.socket, **more}

    def link(self, agent, argv):
        """Puts the agent where relayctl setup finds it."""
        path = os.path.join(self.folder("bin"), agent)
        with open(path, "w") as script:
            script.write('#!/bin/sh\nexec %s "$@"\n' % shlex.join(argv))
        os.chmod(path, 0o755)

    def relayctl(self, *arguments, wait=True):
        process = subprocess.Popen([PROGRAMS + "/relayctl", *arguments], env=self.environment(NO_COLOR="1"), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if not wait:
            return process
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def peers(self):
        return {peer["name"]: peer for peer in json.loads(self.relayctl("peers", "--json")[1])["peers"]}

    def until(self, what, holds, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            if found := holds():
                return found
            time.sleep(0.1)
        raise Failure("within %d s it does not hold that %s" % (seconds, what))

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self.tmux_socket, "-f", "/dev/null", *arguments], text=True, capture_output=True).stdout

    def close(self):
        for terminal in self.terminals:
            terminal.kill()
        self.tmux("kill-server")
        for end in self.at_the_end:
            end()
        # What an agent has installed and started in its home, such as what looks for its updates, ends with no terminal.
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink("/proc/%s/exe" % pid).startswith(self.root + "/"):
                    os.kill(int(pid), 9)
            except OSError:
                pass
        self.hub.terminate()
        self.hub.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Terminal:
    """One program in a terminal of its own."""

    def __init__(self, world, name, argv, environment, folder):
        self.world, self.name = world, name
        command = "exec env -i %s %s" % (" ".join(shlex.quote("%s=%s" % one) for one in environment.items()), shlex.join(argv))
        world.tmux("new-session", "-d", "-s", name, "-x", "150", "-y", "50", "-c", folder, command)
        world.tmux("set-option", "-t", name, "remain-on-exit", "on")
        self.pid = int(world.tmux("display-message", "-p", "-t", name, "#{pane_pid}") or 0)
        world.terminals.append(self)

    def type(self, text):
        """Types a line as a person does, who presses Enter when it is there: what comes in one piece with Enter is taken for pasted."""
        plain = lambda shown: "".join(one for one in shown if one.isascii() and not one.isspace())
        end = plain(text)[-12:]
        before, until = plain(self.screen()).count(end), time.time() + 3
        self.world.tmux("send-keys", "-t", self.name, "-l", text)
        while plain(self.screen()).count(end) <= before and time.time() < until:
            time.sleep(0.1)
        time.sleep(0.4)
        self.keys("Enter")

    def keys(self, *names):
        self.world.tmux("send-keys", "-t", self.name, *names)

    def screen(self):
        return self.world.tmux("capture-pane", "-p", "-t", self.name)

    def is_alive(self):
        return self.world.tmux("display-message", "-p", "-t", self.name, "#{pane_dead}").strip() == "0"

    def kill(self):
        if self.is_alive():
            os.kill(self.pid, 9)
