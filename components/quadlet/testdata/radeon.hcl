host "radeon" {
  local {}

  gpu "amd" {
    index = 1
  }

  engine "llama.cpp" {
    image      = "ghcr.io/ggml-org/llama.cpp@sha256:1111111111111111111111111111111111111111111111111111111111111111"
    executable = "opt/llama/llama-server"
  }

  model "tiny" {
    source = "tiny.gguf"
    sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
  }

  server "chat" {
    engine     = "llama.cpp"
    runtime    = "quadlet"
    model      = "tiny"
    gpu_layers = 99
    memory     = "8GiB"
  }
}
