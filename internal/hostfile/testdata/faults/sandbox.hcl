host "sandbox" {
  local {}
  max_exposure = 1.55

  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "image" {
    kind  = "llama.cpp"
    image = "example.org/llama@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "tiny" {
    source = "tiny.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  server "a" {
    engine       = "llama.cpp"
    model        = "tiny"
    memory       = "1GiB"
    stop_timeout = "0s"

    relax "ProcSubet" {
      value  = "all"
      reason = "a typo"
    }

    relax "MemoryMax" {
      value  = "8G"
      reason = "what an attribute says"
    }

    relax "ProtectProc" {
      value  = "invisble"
      reason = "a word that it doesn't take"
    }

    relax "LockPersonality" {
      value  = "yes"
      reason = "what the profile has"
    }

    relax "NoNewPrivileges" {
      value = "no"
    }

    relax "RestrictRealtime" {
      value  = "no"
      reason = " "
    }

    relax "ProcSubset" {
      value  = "all"
      reason = "the first"
    }

    relax "ProcSubset" {
      value  = "all"
      reason = "the second"
    }

    relax "SystemCallFilter" {
      value  = []
      reason = "an empty list"
    }

    relax "IPAddressAllow" {
      value  = "localhost\nUser=root"
      reason = "two lines"
    }

    relax "ExecStart" {
      value  = "/bin/sh"
      reason = "no directive of the profile"
    }

    limits {
      nofile = 0
      stack  = "8MiB"
    }

    restart {
      delay = "5"
      burst = 0
    }
  }

  server "b" {
    engine       = "image"
    runtime      = "compose"
    model        = "tiny"
    memory       = "1GiB"
    stop_timeout = "1m"

    relax "ProcSubset" {
      value  = "all"
      reason = "a container"
    }

    limits {
      nofile = 1024
    }

    restart {
      burst = 3
    }
  }
}
