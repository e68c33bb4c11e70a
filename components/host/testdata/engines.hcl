# Engines that are the host's own, and a container runtime that is installed.
host "engines" {
  local {}

  containers "docker" {
    install = true
  }

  engine "debian" {
    kind    = "llama.cpp"
    package = "llama.cpp-tools"
    version = "8064+dfsg-1"
  }

  engine "python" {
    kind         = "llama.cpp"
    requirements = "requirements.txt"
    index        = ["/srv/wheels"]
    executable   = "bin/llama-server"
  }

  engine "ollama" {
    source = "ollama.tar.zst"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }

  model "small" {
    source = "small.gguf"
    sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
  }

  server "package" {
    engine = "debian"
    model  = "small"
    memory = "1GiB"
  }

  server "venv" {
    engine = "python"
    model  = "small"
    memory = "1GiB"
  }

  server "ollama" {
    engine = "ollama"
    model  = "small"
    listen = "127.0.0.1:11434"
    memory = "1GiB"
  }
}
