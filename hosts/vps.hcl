# A rented machine without a GPU: two models on the CPU, each with 8 GiB and 4 cores. They listen on
# ports of the loopback interface, which a proxy or an SSH tunnel reaches.
host "vps" {
  timezone     = "UTC"
  max_exposure = 1.5 # a deployment that would open a service further is refused

  ssh {
    address = "vps.example.org"
    user    = "llmhost"
  }

  engine "llama.cpp" {
    source = "~/engines/llama.cpp.tar.zst"
    sha256 = "1111111111111111111111111111111111111111111111111111111111111111" # a placeholder: llmhost pin -s vps
  }

  model "qwen3-vl-4b" {
    source = "~/models/qwen3-vl-4b-instruct-q4_k_m.gguf"
    sha256 = "2222222222222222222222222222222222222222222222222222222222222222" # a placeholder: llmhost pin -s vps

    companion "mmproj" {
      kind   = "mmproj"
      source = "~/models/qwen3-vl-4b-instruct-mmproj-f16.gguf"
      sha256 = "4444444444444444444444444444444444444444444444444444444444444444" # a placeholder: llmhost pin -s vps
    }
  }

  model "llama-3.1-8b" {
    source = "~/models/llama-3.1-8b-instruct-q4_k_m.gguf"
    sha256 = "3333333333333333333333333333333333333333333333333333333333333333" # a placeholder: llmhost pin -s vps
  }

  server "vision" {
    engine  = "llama.cpp"
    model   = "qwen3-vl-4b"
    listen  = "127.0.0.1:8001"
    context = 8192
    threads = 4
    cpus    = 4
    memory  = "8GiB"

    limits {
      nofile = 65536
      nproc  = 512
      tasks  = 512
    }

    restart {
      delay    = "5s"
      burst    = 5
      interval = "300s"
    }
  }

  server "chat" {
    engine  = "llama.cpp"
    model   = "llama-3.1-8b"
    listen  = "127.0.0.1:8002"
    context = 8192
    threads = 4
    cpus    = 4
    memory  = "8GiB"

    limits {
      nofile = 65536
      nproc  = 512
      tasks  = 512
    }

    restart {
      delay    = "5s"
      burst    = 5
      interval = "300s"
    }
  }
}
