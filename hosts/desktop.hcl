# A desktop with a GPU: one large model partly on the GPU, two small models wholly on it.
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

  engine "llama.cpp" {
    source = "~/engines/llama.cpp-cuda.tar.zst"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111" # a placeholder: llmhost pin -s desktop
  }

  model "llama-3.3-70b" {
    source = "~/models/llama-3.3-70b-instruct-q4_k_m.gguf"
    sha256 = "2222222222222222222222222222222222222222222222222222222222222222" # a placeholder: llmhost pin -s desktop
    retain = true                                                               # 40 GB that nobody wants to copy twice
  }

  model "qwen3-4b" {
    source = "~/models/qwen3-4b-q4_k_m.gguf"
    sha256 = "3333333333333333333333333333333333333333333333333333333333333333" # a placeholder: llmhost pin -s desktop
  }

  # From a hub, straight to the host. A model that sees needs its projector. This writes today's commit and digests:
  # llmhost model add hf://ggml-org/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf -s desktop --name gemma-3-4b --replace \
  #   --companion mmproj=hf://ggml-org/gemma-3-4b-it-GGUF/mmproj-model-f16.gguf
  model "gemma-3-4b" {
    source = "hf://ggml-org/gemma-3-4b-it-GGUF@4444444444444444444444444444444444444444/gemma-3-4b-it-Q4_K_M.gguf"
    sha256 = "4444444444444444444444444444444444444444444444444444444444444444" # a placeholder

    companion "mmproj" {
      kind   = "mmproj"
      source = "hf://ggml-org/gemma-3-4b-it-GGUF@4444444444444444444444444444444444444444/mmproj-model-f16.gguf"
      sha256 = "5555555555555555555555555555555555555555555555555555555555555555" # a placeholder
    }
  }

  # Most layers in main memory: slow and clever.
  server "hybrid" {
    engine        = "llama.cpp"
    model         = "llama-3.3-70b"
    listen        = "unix"
    gpu_layers    = 30
    context       = 8192
    threads       = 8
    memory        = "48GiB"
    ready_timeout = "10m"
  }

  # Everything on the GPU: fast, for two at a time.
  server "fast" {
    engine     = "llama.cpp"
    model      = "qwen3-4b"
    listen     = "127.0.0.1:8002"
    gpu_layers = 99
    context    = 16384
    parallel   = 2
    memory     = "8GiB"
  }

  # It answers about images.
  server "eyes" {
    engine     = "llama.cpp"
    model      = "gemma-3-4b"
    gpu_layers = 99
    context    = 8192
    memory     = "8GiB"
  }
}
