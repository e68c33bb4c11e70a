# A desktop with one GPU of 24 GiB and 64 GB of memory: three model servers as one Docker Compose project.
#
#   port  server  engine     GPU memory                                        main memory
#   8000  chat    vLLM       0.80 of 24 GiB, which vLLM takes whole: 19.2 GiB  12 GiB at most
#   8001  small   llama.cpp  none: a model for short tasks, on the CPU          4 GiB at most
#   8002  hybrid  llama.cpp  4 of 80 layers of 0.5 GiB, and buffers: 3 GiB     42 GiB at most
#                            22.2 of 24 GiB                                    58 of 62.5 GiB
#
# Copy this file, change it to your machine, and let `llmhost model add` and `llmhost pin` write the digests.
host "desktop" {
  timezone = "America/Chicago"

  ssh {
    address  = "desktop.lan"
    user     = "llmhost"
    identity = "~/.ssh/id_ed25519"
  }

  gpu "nvidia" {
    vram      = "24GiB"
    bandwidth = "1008GB/s"
  }

  models {
    path = "/srv/models"
  }

  # Images by digest: what they are never changes. These digests are placeholders; the real one of a tag comes from
  # docker buildx imagetools inspect docker.io/vllm/vllm-openai:TAG
  engine "vllm" {
    image = "docker.io/vllm/vllm-openai@sha256:1111111111111111111111111111111111111111111111111111111111111111"
  }

  engine "llama.cpp" {
    image = "ghcr.io/ggml-org/llama.cpp@sha256:2222222222222222222222222222222222222222222222222222222222222222"
  }

  model "qwen3-14b" {
    source = "~/models/qwen3-14b/"
    sha256 = "3333333333333333333333333333333333333333333333333333333333333333" # a placeholder: llmhost pin -s desktop
  }

  # From a hub, straight to the host. This writes today's commit and digest:
  # llmhost model add hf://ggml-org/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf -s desktop --name gemma-3-4b --replace
  model "gemma-3-4b" {
    source = "hf://ggml-org/gemma-3-4b-it-GGUF@4444444444444444444444444444444444444444/gemma-3-4b-it-Q4_K_M.gguf"
    sha256 = "4444444444444444444444444444444444444444444444444444444444444444" # a placeholder
  }

  model "llama-3.3-70b" {
    source = "~/models/llama-3.3-70b-instruct-q4_k_m.gguf"
    sha256 = "5555555555555555555555555555555555555555555555555555555555555555" # a placeholder: llmhost pin -s desktop
    retain = true                                                               # 40 GB that nobody wants to copy twice
  }

  # Fast, for many at a time.
  server "chat" {
    engine                 = "vllm"
    runtime                = "compose"
    project                = "stack"
    model                  = "qwen3-14b"
    listen                 = "127.0.0.1:8000"
    user                   = "1000:1000"
    context                = 8192
    parallel               = 8
    memory                 = "12GiB"
    quantization           = "fp8"
    attention_backend      = "FLASHINFER"
    gpu_memory_utilization = 0.80
    ready_timeout          = "15m"
  }

  # On the CPU, for short tasks.
  server "small" {
    engine  = "llama.cpp"
    runtime = "compose"
    project = "stack"
    model   = "gemma-3-4b"
    listen  = "127.0.0.1:8001"
    user    = "1000:1000"
    context = 4096
    threads = 4
    cpus    = 4
    memory  = "4GiB"
  }

  # Most layers in main memory: slow and clever.
  server "hybrid" {
    engine        = "llama.cpp"
    runtime       = "compose"
    project       = "stack"
    model         = "llama-3.3-70b"
    listen        = "127.0.0.1:8002"
    user          = "1000:1000"
    gpu_layers    = 4
    context       = 4096
    threads       = 8
    memory        = "42GiB"
    ready_timeout = "10m"
  }
}
