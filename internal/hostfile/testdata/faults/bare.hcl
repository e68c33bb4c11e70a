# A server whose host file has neither an engine nor a model.
host "bare" {
  local {}

  server "chat" {
    engine = "llama.cpp"
    model  = "llama"
    memory = "8GiB"
  }
}
