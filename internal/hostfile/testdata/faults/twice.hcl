# An attribute that is written twice doesn't hide the other faults.
host "twice" {
  timezone = "UTC"
  timezone = "UTC"

  ssh {
    adress = "desktop.lan"
  }
}
