host "engines" {
  local {}

  engine "lama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "vllm" {
    source = "a.zip"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "cuda" {
    kind       = "llama.cp"
    source     = "a.tar.gz"
    sha256     = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    executable = "/usr/bin/llama-server"
  }

  engine "llama.cpp" {
    source     = "a.tar.zst"
    sha256     = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    executable = "../llama-server"
  }

  engine "llama.cpp" {
    source     = "b.tar.zst"
    sha256     = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    executable = "usr//bin/llama-server"
  }
}
