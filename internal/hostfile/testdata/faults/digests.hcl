host "digests" {
  local {}

  engine "llama.cpp" {
    source = "a.tar.zst"
    sha256 = "abc"
  }

  model "missing" {
    source = "a.gguf"
  }

  model "placeholder" {
    source = "a.gguf"
    sha256 = "…"
  }

  model "prefixed" {
    source = "a.gguf"
    sha256 = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "letter" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaO"
  }

  model "long" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "upper" {
    source = "a.gguf"
    sha256 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
  }
}
