host "reserved" {
  local {}

  engine "llama.cpp" {
    source = "e.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "a" {
    source = "a.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }

  server "verify" {
    engine = "llama.cpp"
    model  = "a"
    memory = "1GiB"
  }

  file "/etc/llmhost/models.d/a.json" {
    content = "{}"
  }
}
