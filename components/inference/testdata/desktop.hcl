host "desktop" {
  timezone = "America/Chicago"

  ssh {
    address = "desktop.lan"
    user    = "ops"
  }

  gpu "nvidia" {
    vram      = "24GiB"
    bandwidth = "1008GB/s"
  }

  engine "llama.cpp" {
    source = "/home/me/engines/llama.cpp.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "llama-3.3-70b" {
    source = "/home/me/models/llama-3.3-70b-q4_k_m.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    retain = true
  }

  model "embed" {
    source = "/home/me/models/embed.gguf"
    sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
  }

  server "hybrid" {
    engine     = "llama.cpp"
    model      = "llama-3.3-70b"
    gpu_layers = 40
    context    = 8192
    threads    = 8
    parallel   = 2
    memory     = "48GiB"
  }

  server "embed" {
    engine = "llama.cpp"
    model  = "embed"
    listen = "127.0.0.1:8002"
    memory = "2GiB"
  }
}
