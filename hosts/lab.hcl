# The throwaway VM that `llmhost lab up` starts on this machine. It writes the files that are named here,
# and `llmhost pin -s lab` writes their digests.
host "lab" {
  timezone = "UTC"

  ssh {
    address     = "127.0.0.1"
    port        = 22870
    user        = "ops"
    identity    = "../.llmhost/lab/lab/id_ed25519"
    known_hosts = "../.llmhost/lab/lab/known_hosts"
  }

  engine "llama.cpp" {
    source = "../.llmhost/lab/lab/llama.cpp.tar.zst"
    sha256 = "813fb59a5037f8eabcee70a9d39259b3f88be559ee10de1b71add9201b1e1e50" # pinned by: llmhost pin -s lab
  }

  model "tiny" {
    source = "../.llmhost/lab/lab/tiny.gguf"
    sha256 = "9172bb229161b5eefd6c8618a52b9b6a5f0fc3541b0440b91bf5888332ab208b" # pinned by: llmhost pin -s lab
  }

  server "tiny" {
    engine  = "llama.cpp"
    model   = "tiny"
    listen  = "unix"
    memory  = "1GiB"
    threads = 1
    context = 2048
  }

  file "/etc/motd.d/10-llmhost" {
    content = "This host is managed by llmhost. Change it in hosts/lab.hcl and deploy; what is changed here is drift.\n"
    mode    = "0644"
  }
}
