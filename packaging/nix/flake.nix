{
  description = "Lets the Claude Code sessions on a machine, the shell, scripts and CI talk to each other";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { nixpkgs, ... }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      claude-relay = system: nixpkgs.legacyPackages.${system}.callPackage ./package.nix { };
    in
    {
      packages = nixpkgs.lib.genAttrs systems (system: { default = claude-relay system; });
    };
}
