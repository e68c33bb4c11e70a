host "vps" {
  timezone = "Europe/Berlin"

  ssh {
    address = "vps.example.org"
  }

  models {
    path = "/data/models"
  }

  engine "small" {
    kind   = "llama.cpp"
    source = "/home/me/engines/llama.cpp-cpu.tar.gz"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
    executable = "usr/local/bin/llama-server"
  }

  model "qwen3-0.6b" {
    source = "/home/me/models/qwen3-0.6b.gguf"
    sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
  }

  server "chat" {
    engine        = "small"
    model         = "qwen3-0.6b"
    memory        = "1500MB"
    ready_timeout = "90s"
  }

  server "v6" {
    engine = "small"
    model  = "qwen3-0.6b"
    listen = "[::1]:8003"
    memory = "1GiB"
  }

  model "seeing" {
    source = "hf://example/seeing-gguf@0123456789abcdef0123456789abcdef01234567/q4/seeing-00001-of-00002.gguf"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111"

    companion "eyes" {
      kind   = "mmproj"
      source = "/home/me/models/eyes.gguf"
      sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
    }

    companion "tone" {
      kind   = "lora"
      source = "host:/data/adapters/tone.gguf"
      sha256 = "3333333333333333333333333333333333333333333333333333333333333333"
    }

    companion "law" {
      kind   = "lora"
      source = "/home/me/models/law.gguf"
      sha256 = "4444444444444444444444444444444444444444444444444444444444444444"
    }

    companion "small" {
      kind   = "draft"
      source = "/home/me/models/small.gguf"
      sha256 = "5555555555555555555555555555555555555555555555555555555555555555"
    }
  }

  server "sees" {
    engine = "small"
    model  = "seeing"
    memory = "8GiB"
  }

  model "there" {
    source = "host:/data/there/x-00001-of-00003.gguf"
    sha256 = "6666666666666666666666666666666666666666666666666666666666666666"
  }

  server "in-place" {
    engine = "small"
    model  = "there"
    memory = "8GiB"
  }
}
