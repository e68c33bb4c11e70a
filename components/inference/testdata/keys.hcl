host "keys" {
  local {}

  gpu "nvidia" {}

  engine "llama.cpp" {
    source = "/engines/llama.cpp.tar.zst"
    sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }
  engine "vllm" {
    requirements = "requirements.txt"
  }

  model "tiny" {
    source = "/models/tiny.gguf"
    sha256 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
  }
  model "qwen3-8b" {
    source = "hf://Qwen/Qwen3-8B@0123456789abcdef0123456789abcdef01234567"
    sha256 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
  }

  secret "family" {}

  server "chat" {
    engine  = "llama.cpp"
    model   = "tiny"
    memory  = "1GiB"
    api_key = "family"
  }
  server "fast" {
    engine  = "vllm"
    model   = "qwen3-8b"
    memory  = "16GiB"
    listen  = "127.0.0.1:8000"
    api_key = "family"
  }
}
