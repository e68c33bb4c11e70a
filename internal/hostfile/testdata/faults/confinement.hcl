host "confinement" {
  ssh {
    address = "a.lan"
    user    = "root"
  }

  audit = "yes"

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "boxed" {
    kind  = "llama.cpp"
    image = "llama@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "tiny" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "chat" {
    engine   = "llama.cpp"
    model    = "tiny"
    memory   = "1GiB"
    apparmor = "enforced"
  }

  server "boxed" {
    engine   = "boxed"
    runtime  = "compose"
    model    = "tiny"
    memory   = "1GiB"
    listen   = "127.0.0.1:8000"
    apparmor = "enforce"
  }

  sshd {
    password_authentication = "no"
    permit_root_login       = "no"
    allow_users             = ["ops"]
    port                    = 22
  }

  firewall {
    policy = "deny"

    allow "LAN chat" {
      port = 0
    }

    allow "chat" {
      port      = 8000
      protocol  = "sctp"
      from      = ["192.168.1.1/24", "lan", "::ffff:1.2.3.4/128"]
      interface = "eth0; drop"
    }

    allow "chat" {
      from = ["10.0.0.0/8"]
    }
  }

  file "/etc/ssh/sshd_config.d/10-llmhost.conf" {
    content = "x"
    guard   = "no"
  }

  file "/etc/llmhost/firewall.nft" {
    content = "flush ruleset"
  }
}
