host "full" {
  timezone = "Europe/Berlin"

  local {}

  engine "stable" {
    kind   = "llama.cpp"
    source = "/home/me/engines/stable.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "same-bytes" {
    kind   = "llama.cpp"
    source = "/home/me/engines/copy-of-stable.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "large" {
    source = "/home/me/models/large.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    retain = true
  }

  model "small" {
    source = "/home/me/models/small.gguf"
    sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
  }

  model "seeing" {
    source = "hf://example/seeing-gguf@0123456789abcdef0123456789abcdef01234567/seeing-00001-of-00002.gguf"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
    retain = true

    signature {
      key  = "models.pub"
      file = "seeing.sig"
    }

    companion "eyes" {
      kind   = "mmproj"
      source = "https://models.example.org/eyes.gguf"
      sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
    }
  }

  model "there" {
    source = "host:/data/there.gguf"
    sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
  }

  server "sees" {
    engine = "stable"
    model  = "seeing"
    memory = "8GiB"
  }

  server "chat" {
    engine = "stable"
    model  = "large"
    memory = "48GiB"
  }

  server "embed" {
    engine = "same-bytes"
    model  = "small"
    listen = "127.0.0.1:8002"
    memory = "2GiB"
  }

  directory "/srv/notes/private" {
    mode  = "0700"
    owner = "llm-chat"
    group = "llm-chat"
  }

  directory "/srv/notes" {
    adopt = true
  }

  file "/srv/notes/private/deep/prompt.txt" {
    content = "Be kind.\n"
    owner   = "llm-chat"
    group   = "llm-models"
  }

  file "/etc/motd.d/10-llmhost" {
    source = "motd.txt"
    mode   = "0644"
    adopt  = true
  }
}
