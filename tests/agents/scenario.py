"""What the scenarios share: checks that say what was seen, and sessions that are ready."""
import sys, time
from clients import CLIENTS
from world import FAILURES, Failure, World


def check(what, holds, seen=""):
    if not holds:
        raise Failure("%s: %s" % (what, seen))
    print("  %s" % what)


def each(agents, scenario):
    """Sets each agent up in a world of its own, runs the scenario there, and ends with the names of those that failed."""
    failed = []
    for agent in agents:
        print("== %s" % agent, flush=True)
        with World() as world:
            try:
                setup(world, agent)
                scenario(world, agent)
            except (*FAILURES, SystemExit) as failure:
                failed.append(agent)
                print("FAILED %s: %s" % (agent, failure))
                for terminal in world.terminals:
                    print("-- the screen of %s\n%s" % (terminal.name, terminal.screen().strip()), flush=True)
                if isinstance(failure, SystemExit):
                    raise
    sys.exit("failed: %s" % ", ".join(failed) if failed else 0)


def setup(world, agent):
    world.link(agent, CLIENTS[agent].command)
    code, out, err = world.relayctl("setup", agent)
    check("set up by relayctl setup %s" % agent, code == 0, (code, out, err))


def undo(world, agent):
    code, out, err = world.relayctl("setup", agent, "--undo")
    check("removed by relayctl setup %s --undo" % agent, code == 0, (code, out, err))
    code, out, err = world.relayctl("setup", agent, "--undo")
    check("and nothing is left of it", code == 0 and "nothing was set up" in err, (code, out, err))


def started(world, agent, name):
    """A session of the agent that is listed, and woken as it should be."""
    client = CLIENTS[agent](world, name).start()
    waits = (client.wakes_by, client.status)
    listed = lambda: (peer := world.peers().get(name)) and (peer["wakes_by"], peer["status"]) == waits and peer
    client.peer = world.until("%s is listed, woken by %s and %s" % (name, *waits), listed, 90)
    return client


def is_again(world, client, status=None):
    """Waits until the session says that it is idle, or what else it should be."""
    status = status or client.status
    world.until("%s is %s" % (client.name, status), lambda: world.peers().get(client.name, {}).get("status") == status, 40)


def brought(world, client, text):
    """Waits until its model was shown this; where no message starts a turn, its user types something now and then."""
    if client.is_woken:
        return world.model.shown(client.name, text, 60)
    for _ in range(6):
        if shown := world.model.shown(client.name, text, 5):
            return shown
        client.nudge(False)
    return world.model.shown(client.name, text, 5)


def ask(world, client, question):
    """Asks from the shell and returns how long it took."""
    began = time.time()
    asked = world.relayctl("ask", client.name, question, "--timeout", "60s", wait=False)
    client.nudge()
    out, err = asked.communicate(timeout=90)
    if (asked.returncode, out) != (0, "answer to %s\n" % question):
        raise Failure("%s is asked %s: %s" % (client.name, question, (asked.returncode, out, err)))
    return time.time() - began
