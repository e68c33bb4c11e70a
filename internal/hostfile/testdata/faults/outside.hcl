timezone = "UTC"

hots "outside" {
}

host {
}

host "outside" "again" {
  local {}
}
