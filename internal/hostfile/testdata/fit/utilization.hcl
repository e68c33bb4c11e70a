host "utilization" {
  local {}

  gpu "nvidia" {
    vram = "24GiB"
  }

  engine "llama.cpp" {
    source = "/e.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "vllm" {
    image = "vllm/vllm-openai@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }

  # Llama 3.3 70B in Q4_K_M, Qwen3 4B in Q4_K_M, and a folder for vLLM.
  model "llama-70b" {
    source = "/llama.gguf"
    sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

    shape {
      size         = "42520398432B"
      layers       = 80
      kv_per_token = "320KiB"
      vocabulary   = 128256
      width        = 8192
    }
  }

  model "qwen-4b" {
    source = "/qwen.gguf"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

    shape {
      size         = "2491000000B"
      layers       = 36
      kv_per_token = "144KiB"
      vocabulary   = 151936
      width        = 2560
    }
  }

  model "unpinned" {
    source = "/unpinned.gguf"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }

  model "qwen-8b" {
    source = "/qwen-8b"
    sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
  }

  server "main" {
    engine                 = "vllm"
    model                  = "qwen-8b"
    runtime                = "compose"
    listen                 = "127.0.0.1:8000"
    gpu_memory_utilization = 0.8
  }

  server "fast" {
    engine     = "llama.cpp"
    model      = "qwen-4b"
    gpu_layers = 99
    context    = 16384
  }
}
