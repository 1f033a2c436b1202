"""What the scenarios share: checks that say what was seen, and sessions that are ready."""
import time
from clients import CLIENTS
from world import Failure


def check(what, holds, seen=""):
    if not holds:
        raise Failure("%s: %s" % (what, seen))
    print("  %s" % what)


def setup(world, agent):
    world.link(agent, CLIENTS[agent].command)
    code, out, err = world.relayctl("setup", agent)
    check("set up by relayctl setup %s" % agent, code == 0, (code, out, err))


def started(world, agent, name):
    """A session of the agent that is listed, idle and woken by its plugin."""
    client = CLIENTS[agent](world, name).start()
    listed = lambda: (peer := world.peers().get(name)) and peer["wakes_by"] == "plugin" and peer["status"] == "idle" and peer
    client.peer = world.until("%s is listed, idle and woken by its plugin" % name, listed, 90)
    return client


def ask(world, name, question):
    """Asks from the shell and returns how long it took."""
    began = time.time()
    code, out, err = world.relayctl("ask", name, question, "--timeout", "60s")
    if (code, out) != (0, "answer to %s\n" % question):
        raise Failure("%s is asked %s: %s" % (name, question, (code, out, err)))
    return time.time() - began
