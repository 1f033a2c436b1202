# Builds claude-relay from the source around this file.
{ rustPlatform }:

rustPlatform.buildRustPackage {
  pname = "claude-relay";
  version = (builtins.fromTOML (builtins.readFile ../../Cargo.toml)).package.version;
  src = ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  # They want a service manager and a clone.
  doCheck = false;

  postInstall = ''
    mkdir built
    mv $out/bin/* built
    sh packaging/tree built $out
  '';

  meta = {
    description = "Lets the Claude Code sessions on a machine, the shell, scripts and CI talk to each other";
    mainProgram = "relayctl";
  };
}
