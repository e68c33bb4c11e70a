# Containers of users without privileges: a pulled image with a GPU, and a loaded one with limits.
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

  model "tiny" {
    source = "tiny.gguf"
    sha256 = "5555555555555555555555555555555555555555555555555555555555555555"

    companion "small" {
      kind   = "draft"
      source = "small.gguf"
      sha256 = "6666666666666666666666666666666666666666666666666666666666666666"
    }
  }

  server "chat" {
    engine                 = "vllm"
    runtime                = "quadlet"
    model                  = "qwen3-4b"
    memory                 = "24GiB"
    gpu_memory_utilization = 0.80
  }

  server "plain" {
    engine  = "llama.cpp"
    runtime = "quadlet"
    model   = "tiny"
    memory  = "2GiB"
    cpus    = 1.5
  }
}
