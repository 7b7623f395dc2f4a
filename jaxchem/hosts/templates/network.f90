! $title
!
! Written by jaxchem $version; concentrations in $concentration, times in $time.
! Link with ${name}.c, whose header says what the functions do.
module ${name}_mod
  use, intrinsic :: iso_c_binding
  implicit none
  integer, parameter :: ${name}_species = $species
  integer, parameter :: ${name}_rate_count = $rates
  integer, parameter :: ${name}_conditions = $conditions
  character(len=*), parameter :: ${name}_species_names($species) = &
    $species_texts
  character(len=*), parameter :: ${name}_condition_names($conditions) = &
    $condition_texts
  character(len=*), parameter :: ${name}_condition_units($conditions) = &
    $unit_texts
  character(len=*), parameter :: ${name}_concentration_unit = &
    $concentration_text
  character(len=*), parameter :: ${name}_time_unit = &
    $time_text
  interface
    function ${name}_rates(cells, conditions, k) &
        result(failed) bind(c, name="${name}_rates")
      import
      integer(c_int64_t), value :: cells
      real(c_double), intent(in) :: conditions($conditions, cells)
      real(c_double), intent(out) :: k($rates, cells)
      integer(c_int) :: failed
    end function
    function ${name}_solve(cells, dt, k, y, rtol, atol, status) &
        result(failed) bind(c, name="${name}_solve")
      import
      integer(c_int64_t), value :: cells
      real(c_double), value :: dt, rtol
      real(c_double), intent(in) :: k($rates, cells), atol($species)
      real(c_double), intent(inout) :: y($species, cells)
      integer(c_int32_t), intent(out) :: status(cells)
      integer(c_int64_t) :: failed
    end function
  end interface
end module
