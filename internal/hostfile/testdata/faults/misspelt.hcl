# A misspelt block is one fault, and what refers to it isn't a second one.
host "misspelt" {
  shs {
    address = "desktop.lan"
  }

  engin "llama.cpp" {
    source = "a.tar"
  }

  modell "tiny" {
    source = "a.gguf"
  }

  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memroy = "1GiB"
  }
}
