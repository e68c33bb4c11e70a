host "radeon" {
  local {}

  gpu "amd" {
    vram = "24GiB"
  }

  engine "llama.cpp" {
    source = "/home/me/engines/llama.cpp-rocm.tar.zst"
    sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
  }

  model "qwen3-8b" {
    source = "/home/me/models/qwen3-8b.gguf"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
  }

  server "chat" {
    engine     = "llama.cpp"
    model      = "qwen3-8b"
    gpu_layers = 99
    memory     = "8GiB"
  }
}
