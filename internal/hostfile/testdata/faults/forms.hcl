host "forms" {
  local {}

  containers "dokcer" {}

  containers "docker" {
    nvidia = true
  }

  containers "docker" {}

  engine "debian" {
    kind    = "llama.cpp"
    package = "llama.cpp-tools"
    version = "1; rm -rf /"
    index   = ["https://pypi.org/simple"]
  }

  engine "archive" {
    kind    = "llama.cpp"
    source  = "a.tar"
    sha256  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    version = "8064"
  }

  engine "python" {
    kind         = "llama.cpp"
    requirements = "requirements.txt"
  }

  engine "vllm" {
    requirements = "requirements.txt"
    index        = ["http://pypi.org/simple", "https://me:secret@example.org/simple", "wheels"]
  }

  engine "mirror" {
    kind         = "vllm"
    requirements = "requirements.txt"
    index        = ["https://me:secret@example.org/simple"]
  }
}
