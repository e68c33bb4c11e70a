host "requirements" {
  local {}

  engine "vllm" {
    requirements = "requirements.txt"
  }

  engine "gone" {
    kind         = "vllm"
    requirements = "gone.txt"
  }
}
