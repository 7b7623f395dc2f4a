! $title
!
! Written by jaxchem $version; concentrations in $concentration, times in $time.
! Link with ${name}.c, whose header says what the function does.
module ${name}_mod
  use, intrinsic :: iso_c_binding
  implicit none
  integer, parameter :: ${name}_states = $states
  integer, parameter :: ${name}_conditions = $conditions
  integer, parameter :: ${name}_times = $times
  character(len=*), parameter :: ${name}_state_names($states) = &
    $state_texts
  character(len=*), parameter :: ${name}_condition_names($conditions) = &
    $condition_texts
  character(len=*), parameter :: ${name}_concentration_unit = &
    $concentration_text
  character(len=*), parameter :: ${name}_time_unit = &
    $time_text
  interface
    function ${name}_predict(cells, y0, conditions, ts, y) &
        result(failed) bind(c, name="${name}_predict")
      import
      integer(c_int64_t), value :: cells
      real(c_double), intent(in) :: y0($states, cells), conditions($conditions, cells)
      real(c_double), intent(in) :: ts($times)
      real(c_double), intent(out) :: y($states, $times, cells)
      integer(c_int) :: failed
    end function
  end interface
end module
