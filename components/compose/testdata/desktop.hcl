host "desktop" {
  timezone = "America/Chicago"

  ssh {
    address = "desktop.lan"
  }

  gpu "nvidia" {
    vram = "24GiB"
  }

  engine "vllm" {
    image = "docker.io/vllm/vllm-openai@sha256:1111111111111111111111111111111111111111111111111111111111111111"
  }

  engine "llama.cpp" {
    image  = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
    source = "llama.cpp.tar"
    sha256 = "3333333333333333333333333333333333333333333333333333333333333333"
  }

  model "qwen3-4b" {
    source = "qwen3-4b/"
    sha256 = "4444444444444444444444444444444444444444444444444444444444444444"
  }

  model "llama-3.3-70b" {
    source = "llama-3.3-70b.gguf"
    sha256 = "5555555555555555555555555555555555555555555555555555555555555555"

    companion "small" {
      kind   = "draft"
      source = "small.gguf"
      sha256 = "6666666666666666666666666666666666666666666666666666666666666666"
    }
  }

  model "in-place" {
    source = "host:/data/models/a.gguf"
    sha256 = "7777777777777777777777777777777777777777777777777777777777777777"
  }

  server "chat" {
    engine                 = "vllm"
    runtime                = "compose"
    project                = "stack"
    model                  = "qwen3-4b"
    listen                 = "127.0.0.1:8000"
    user                   = "1000:1000"
    memory                 = "24GiB"
    cpus                   = 8
    quantization           = "fp8"
    attention_backend      = "flashinfer"
    gpu_memory_utilization = 0.80
  }

  server "hybrid" {
    engine     = "llama.cpp"
    runtime    = "compose"
    project    = "stack"
    model      = "llama-3.3-70b"
    gpu_layers = 20
    memory     = "48GiB"
  }

  server "plain" {
    engine  = "llama.cpp"
    runtime = "compose"
    model   = "in-place"
    memory  = "4GiB"
  }
}
