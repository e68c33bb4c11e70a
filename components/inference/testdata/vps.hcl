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
}
