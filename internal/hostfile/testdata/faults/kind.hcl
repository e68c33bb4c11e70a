# A server that names the engine rightly isn't told to repeat the slip of the engine's block.
host "kind" {
  local {}

  engine "lama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "tiny" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memory = "1GiB"
  }
}
