host "servers" {
  local {}

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "llama-3.3-70b" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "good" {
    engine = "llama.cpp"
    model  = "llama-3.3-70b"
    listen = "127.0.0.1:8002"
    memory = "48GiB"
  }

  server "near" {
    engine  = "lama.cpp"
    runtime = "sytemd"
    model   = "llama-3.3-7b"
    listen  = "127.0.0.1:8002"
    memory  = "48"
  }

  server "far" {
    engine     = "vllm"
    runtime    = "compose"
    model      = "qwen"
    gpu_layers = 40
    memory     = "0B"
  }

  server "good" {
    engine        = "llama.cpp"
    model         = "llama-3.3-70b"
    gpu_layers    = -1
    context       = 0.5
    threads       = "8"
    parallel      = 0
    memory        = "48gib"
    ready_timeout = "5"
  }

  server "models" {
    engine        = "llama.cpp"
    model         = "llama-3.3-70b"
    memory        = "1.0000000000001GiB"
    ready_timeout = "-5m"
  }

  server "Under_Score" {
    engine        = "llama.cpp"
    model         = "llama-3.3-70b"
    memory        = "9999999TiB"
    ready_timeout = "48h"
  }

  server "a-name-with-more-than-24-characters" {
    engine        = "llama.cpp"
    model         = "llama-3.3-70b"
    memory        = "lots"
    ready_timeout = "soon"
  }
}
