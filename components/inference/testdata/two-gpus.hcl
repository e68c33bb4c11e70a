host "two-gpus" {
  ssh {
    address = "workstation.lan"
  }

  gpu "nvidia" {
    index = 0
    vram  = "24GiB"
  }

  gpu "nvidia" {
    index = 1
    vram  = "24GiB"
  }

  engine "llama.cpp" {
    source = "/home/me/engines/llama.cpp.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "small" {
    source = "/home/me/models/small.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }

  server "first" {
    engine     = "llama.cpp"
    model      = "small"
    gpus       = [0]
    gpu_layers = 99
    memory     = "4GiB"
  }

  server "second" {
    engine     = "llama.cpp"
    model      = "small"
    gpus       = [1]
    gpu_layers = 99
    memory     = "4GiB"
  }

  server "both" {
    engine     = "llama.cpp"
    model      = "small"
    gpu_layers = 99
    memory     = "4GiB"
  }
}
