host "secrets" {
  local {}

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }
  engine "ollama" {
    source = "o.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }
  model "tiny" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  secret "family" {
    max_age = "90d"
    overlap = "0s"
  }
  secret "family" {
    kind = "apikey"
  }
  secret "long" {
    max_age = "24h"
    overlap = "48h"
  }
  secret "signing" {
    kind  = "hmac"
    value = "hunter2"
  }
  secret "Family_Key" {}

  server "a" {
    engine  = "llama.cpp"
    model   = "tiny"
    memory  = "1GiB"
    api_key = "famly"
  }
  server "b" {
    engine  = "llama.cpp"
    model   = "tiny"
    memory  = "1GiB"
    api_key = "signing"
  }
  server "c" {
    engine  = "ollama"
    model   = "tiny"
    memory  = "1GiB"
    api_key = "family"
  }
}
