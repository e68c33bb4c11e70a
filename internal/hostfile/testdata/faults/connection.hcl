host "connection" {
  local {}

  ssh {
    address     = "ops@desktop.lan"
    port        = 70000
    user        = "-oProxyCommand=x"
    identity    = "~root/.ssh/id"
    known_hosts = ""
    host_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFi"
    jump        = "me@bad host:22"
  }
}
