! A line of dark gas in which diffusion and chemistry take turns, as a host model would run it.
! The cells' temperatures and initial states come from line.bin, the last states go to end.bin.
program line
  use osu29_mod
  implicit none
  integer(c_int64_t), parameter :: cells = 64
  integer, parameter :: steps = 50
  real(c_double), parameter :: year = 3.1536d7, dt = 1d3 * year, share = 0.2d0
  real(c_double) :: conditions(osu29_conditions, cells), y(osu29_species, cells)
  real(c_double) :: k(osu29_rate_count, cells), atol(osu29_species)
  integer(c_int32_t) :: status(cells)
  integer(c_int64_t) :: failed
  integer :: step

  if (osu29_condition_names(1) /= 'temperature') stop 'another order of conditions'
  open(10, file='line.bin', access='stream', form='unformatted')
  read(10) conditions, y
  close(10)
  atol = 1d-16
  ! they do not change in this run, so once is enough
  if (osu29_rates(cells, conditions, k) /= 0) stop 'no memory'
  do step = 1, steps
    call diffuse(y)
    failed = osu29_solve(cells, dt, k, y, 1d-6, atol, status)
    if (failed /= 0) stop 'a cell failed'
    call diffuse(y)
  end do
  open(11, file='end.bin', access='stream', form='unformatted')
  write(11) y
  print '(a,es10.3,2a)', 'CO at the warm end: ', y(index_of('CO'), cells), ' ', osu29_concentration_unit

contains

  ! half a step of an explicit diffusion, nothing leaves the line
  subroutine diffuse(y)
    real(c_double), intent(inout) :: y(:, :)
    real(c_double) :: flux(size(y, 1), 0:size(y, 2))
    integer :: n
    flux = 0
    do n = 1, size(y, 2) - 1
      flux(:, n) = 0.5d0 * share * (y(:, n) - y(:, n + 1))
    end do
    do n = 1, size(y, 2)
      y(:, n) = y(:, n) + flux(:, n - 1) - flux(:, n)
    end do
  end subroutine

  integer function index_of(name)
    character(len=*), intent(in) :: name
    do index_of = 1, osu29_species
      if (osu29_species_names(index_of) == name) return
    end do
    stop 'no such species'
  end function
end program
