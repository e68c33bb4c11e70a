host "desktop" {
  local {}
}
