host "paths" {
  local {}

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "tiny" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memory = "1GiB"
  }

  directory "srv/notes" {}

  directory "/srv/notes/" {
    mode = "99"
  }

  directory "/" {}

  directory "/srv/models/mine" {
    mode = "17777"
  }

  directory "/opt/llmhost" {
    owner = "Root!"
  }

  directory "/srv/fine" {
    group = "a-name-that-is-longer-than-thirty-two-characters"
  }

  file "/srv/fine" {
    content = "x"
  }

  file "/var/lib/llmhost/owned" {
    content = "x"
    source  = "x.txt"
  }

  file "/run/llmhost/chat/llm.sock" {
  }

  file "/etc/systemd/system/llmhost-chat.service" {
    content = "x"
  }

  file "/etc/systemd/system/llmhost-chat.service.d/local.conf" {
    content = "x"
  }

  file "/etc/motd" {
    content = "x"
  }

  file "/etc/motd/10-llmhost" {
    source = "a\u0000b"
  }

  file "/etc/\u001b[2J" {
    content = "x"
  }
}
