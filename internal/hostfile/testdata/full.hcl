# Every block and attribute, each with a value that isn't its default.
host "full" {
  timezone     = "America/Chicago"
  max_exposure = 1.5

  ssh {
    address     = "desktop.lan"
    port        = 2222
    user        = "ops"
    identity    = "~/.ssh/id_ed25519"
    known_hosts = "keys/known_hosts"
    host_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f root@desktop"
    jump        = "me@bastion:2200"
  }

  gpu "nvidia" {
    index       = 1
    vram        = "24GiB"
    bandwidth   = "1008GB/s"
    power_limit = "300W"
  }

  containers "docker" {
    install = true
    nvidia  = true
  }

  models {
    path         = "/data/models"
    verify_every = "24h"
    hub          = "https://hub.example.org"
  }

  engine "cuda" {
    kind       = "llama.cpp"
    source     = "/engines/../engines/llama.cpp.tar.zst"
    sha256     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    executable = "opt/llama/llama-server"
  }

  engine "vllm-image" {
    kind   = "vllm"
    image  = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    source = "/engines/vllm.tar"
    sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }

  engine "debian" {
    kind    = "llama.cpp"
    package = "llama.cpp-tools"
    version = "8064+dfsg-1"
  }

  engine "vllm-venv" {
    kind         = "vllm"
    requirements = "vllm.txt"
    index        = ["https://pypi.org/simple", "/srv/wheels"]
  }

  model "llama-3.3-70b" {
    source       = "hf://org/llama-gguf@0123456789abcdef0123456789abcdef01234567/q4/llama-00001-of-00003.gguf"
    sha256       = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
    retain       = true
    download     = "here"
    allow_pickle = true

    shape {
      size         = "42520398432B"
      layers       = 80
      kv_per_token = "320KiB"
      vocabulary   = 128256
      width        = 8192
    }

    signature {
      key  = "~/keys/org.pub"
      file = "org.sig"
    }

    companion "vision" {
      kind   = "mmproj"
      source = "../models/mmproj.gguf"
      sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

      shape {
        size         = "800MiB"
        layers       = 24
        kv_per_token = "64KiB"
        vocabulary   = 1000
        width        = 1024
      }
    }
  }

  server "hybrid" {
    engine        = "cuda"
    runtime       = "systemd"
    model         = "llama-3.3-70b"
    listen        = "127.0.0.1:8002"
    gpu_layers    = 40
    context       = 8192
    threads       = 8
    parallel      = 2
    memory        = "48GiB"
    cpus          = 6.5
    gpus          = [1]
    exclusive     = "large"
    api_key       = "family"
    apparmor      = "complain"
    ready_timeout = "10m"
    stop_timeout  = "2m"

    relax "SystemCallFilter" {
      value  = ["@system-service", "~@privileged"]
      reason = "it pins its threads to the fast cores"
    }

    limits {
      nofile        = 65536
      nproc         = 512
      tasks         = 600
      address_space = "64GiB"
      core          = "1GiB"
    }

    restart {
      delay    = "5s"
      burst    = 3
      interval = "10m"
    }
  }

  model "qwen3-8b" {
    source = "hf://Qwen/Qwen3-8B@0123456789abcdef0123456789abcdef01234567"
    sha256 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
  }

  server "fast" {
    engine                 = "vllm-image"
    runtime                = "compose"
    project                = "front"
    model                  = "qwen3-8b"
    listen                 = "127.0.0.1:8000"
    memory                 = "16GiB"
    user                   = "1000:1000"
    quantization           = "fp8"
    attention_backend      = "flashinfer"
    gpu_memory_utilization = 0.8
  }

  secret "family" {
    kind    = "api-key"
    max_age = "720h"
    overlap = "48h"
  }

  secret "signing" {
    kind = "hmac"
  }

  directory "/srv/notes" {
    mode  = "2770"
    owner = "ops"
    group = "users"
    adopt = true
  }

  file "/etc/motd.d/llmhost" {
    content = <<-TEXT
      A host of $${USER}.
    TEXT
    mode    = "0644"
    owner   = "1000"
    group   = "users"
    guard   = true
    adopt   = true
  }

  file "/srv/notes/a.txt" {
    source = "a.txt"
  }

  audit = true

  sshd {
    password_authentication = true
    keyboard_interactive    = true
    permit_root_login       = "no"
    allow_users             = ["ops", "me"]
  }

  firewall {
    policy = "drop"

    allow "notes" {
      port      = 5353
      protocol  = "udp"
      from      = ["192.168.1.0/24", "fd00::1"]
      interface = "eth0"
    }
  }
}
