// Serves the packages of a folder as a registry of npm does, so that they are tried as they will be published.
// usage: node registry.mjs FOLDER      prints its address; ends with its standard input
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const folder = process.argv[2];
const packages = new Map();
const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://host").pathname).slice(1);
  if (packages.has(path)) {
    response.end(JSON.stringify(packages.get(path)));
  } else if (path.startsWith("files/") && !path.includes("..")) {
    response.end(readFileSync(join(folder, path.slice("files/".length))));
  } else {
    response.writeHead(404).end("{}");
  }
});
server.listen(0, "127.0.0.1", () => {
  const address = `http://127.0.0.1:${server.address().port}`;
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".tgz"))) {
    const text = execFileSync("tar", ["-xzOf", join(folder, file), "package/package.json"], { encoding: "utf8" });
    const manifest = JSON.parse(text);
    const integrity = "sha512-" + createHash("sha512").update(readFileSync(join(folder, file))).digest("base64");
    manifest.dist = { integrity, tarball: `${address}/files/${file}` };
    packages.set(manifest.name, {
      name: manifest.name,
      "dist-tags": { latest: manifest.version },
      versions: { [manifest.version]: manifest },
    });
  }
  console.log(address);
});
process.stdin.on("end", () => process.exit()).resume();
