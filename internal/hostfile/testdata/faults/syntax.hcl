host "syntax" {
  timezone = 
  ssh {
    address = "desktop.lan"
