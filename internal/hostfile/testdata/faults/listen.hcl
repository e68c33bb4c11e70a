host "listen" {
  local {}

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "tiny" {
    source = "a.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "s1" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "0.0.0.0:8002"
    memory = "1GiB"
  }

  server "s2" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "192.168.1.5:8002"
    memory = "1GiB"
  }

  server "s3" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "[::]:8002"
    memory = "1GiB"
  }

  server "s4" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "[::ffff:127.0.0.1]:8002"
    memory = "1GiB"
  }

  server "s5" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "[fe80::1%eth0]:8002"
    memory = "1GiB"
  }

  server "s6" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "localhost:8002"
    memory = "1GiB"
  }

  server "s7" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = ":8002"
    memory = "1GiB"
  }

  server "s8" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "8002"
    memory = "1GiB"
  }

  server "s9" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "127.0.0.1"
    memory = "1GiB"
  }

  server "s10" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "127.0.0.1:80"
    memory = "1GiB"
  }

  server "s11" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "127.0.0.1:0"
    memory = "1GiB"
  }

  server "s12" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "unx"
    memory = "1GiB"
  }

  server "s13" {
    engine = "llama.cpp"
    model  = "tiny"
    listen = "/run/x.sock"
    memory = "1GiB"
  }
}
