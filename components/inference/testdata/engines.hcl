# Engines in each form that a unit can run, and of each kind.
host "engines" {
  timezone = "Europe/Berlin"

  ssh {
    address = "engines.example.org"
  }

  gpu "nvidia" {
    vram = "24GiB"
  }

  engine "debian" {
    kind    = "llama.cpp"
    package = "llama.cpp-tools"
    version = "8064+dfsg-1"
  }

  engine "vllm" {
    requirements = "requirements.txt"
    index        = ["/srv/wheels"]
  }

  engine "ollama" {
    source = "/home/me/engines/ollama.tar.zst"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }

  model "qwen3-0.6b" {
    source = "/home/me/models/qwen3-0.6b.gguf"
    sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
  }

  model "qwen3-8b" {
    source = "hf://Qwen/Qwen3-8B@0123456789abcdef0123456789abcdef01234567"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
  }

  model "seeing" {
    source = "/home/me/models/seeing.gguf"
    sha256 = "2222222222222222222222222222222222222222222222222222222222222222"

    companion "eyes" {
      kind   = "mmproj"
      source = "/home/me/models/eyes.gguf"
      sha256 = "3333333333333333333333333333333333333333333333333333333333333333"
    }
  }

  server "package" {
    engine = "debian"
    model  = "qwen3-0.6b"
    memory = "2GiB"
  }

  server "venv" {
    engine = "vllm"
    model  = "qwen3-8b"
    memory = "16GiB"
  }

  server "venv-port" {
    engine            = "vllm"
    model             = "qwen3-8b"
    listen            = "127.0.0.1:8000"
    memory            = "16GiB"
    attention_backend = "flashinfer"
  }

  server "ollama" {
    engine     = "ollama"
    model      = "seeing"
    listen     = "127.0.0.1:11434"
    context    = 8192
    parallel   = 2
    threads    = 4
    gpu_layers = 20
    memory     = "8GiB"
  }
}
