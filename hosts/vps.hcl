# A rented machine without a GPU: two small models on the CPU.
host "vps" {
  timezone = "UTC"

  ssh {
    address = "vps.example.org"
    user    = "llmhost"
  }

  engine "llama.cpp" {
    source = "~/engines/llama.cpp.tar.zst"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111" # a placeholder: llmhost pin -s vps
  }

  model "qwen3-1.7b" {
    source = "~/models/qwen3-1.7b-q4_k_m.gguf"
    sha256 = "2222222222222222222222222222222222222222222222222222222222222222" # a placeholder: llmhost pin -s vps
  }

  model "gemma-3-1b" {
    source = "~/models/gemma-3-1b-it-q4_k_m.gguf"
    sha256 = "3333333333333333333333333333333333333333333333333333333333333333" # a placeholder: llmhost pin -s vps
  }

  server "chat" {
    engine  = "llama.cpp"
    model   = "qwen3-1.7b"
    threads = 3
    memory  = "4GiB"
  }

  server "summary" {
    engine  = "llama.cpp"
    model   = "gemma-3-1b"
    threads = 1
    context = 8192
    memory  = "3GiB"
  }
}
