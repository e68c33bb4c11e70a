host "limits" {
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

  server "a" {
    engine = "llama.cpp"
    model  = "unpinned"
    memory = "40GiB"
  }

  server "b" {
    engine = "llama.cpp"
    model  = "unpinned"
    memory = "24GiB"
    listen = "127.0.0.1:8001"
  }
}
