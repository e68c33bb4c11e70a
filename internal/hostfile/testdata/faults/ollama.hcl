host "ollama" {
  local {}

  engine "ollama" {
    source = "ollama.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "small" {
    source = "small.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

    companion "guess" {
      kind   = "draft"
      source = "guess.gguf"
      sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
    }
  }

  model "sharded" {
    source = "sharded/sharded-00001-of-00002.gguf"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  }

  model "a-name-that-is-good-for-every-other-engine-and-has-more-than-the-eighty-characters-of-ollama" {
    source = "long.gguf"
    sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
  }

  server "unix" {
    engine = "ollama"
    model  = "small"
    memory = "2GiB"
  }

  server "sharded" {
    engine = "ollama"
    model  = "sharded"
    listen = "127.0.0.1:8001"
    memory = "2GiB"
  }

  server "long" {
    engine = "ollama"
    model  = "a-name-that-is-good-for-every-other-engine-and-has-more-than-the-eighty-characters-of-ollama"
    listen = "127.0.0.1:8002"
    memory = "2GiB"
  }
}
