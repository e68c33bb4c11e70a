host "structure" {
  timezon = "UTC"
  colour  = "red"
  models  = "/srv/models"
  timezone {}
  sever "a" {}
  network {}

  local {
    address = "here"
  }
  local {}

  gpu {}
  gpu "nvidia" "rtx" {
    vran = "24GiB"
  }

  models "here" {
    path = "/srv/models"
  }

  server "a" {
    model {}
    adress = "unix"
  }
}
